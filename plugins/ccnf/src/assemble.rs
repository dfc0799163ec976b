//! Builds the model of a level from the detector's config.

use crate::chain::Chain;
use crate::config::CcnfConfig;
use crate::flow::{Flow, FlowSpec};
use crate::level::LevelFlow;
use crate::projection::Projection;
use ccnf::core::Standardization;
use ccnf::prelude::*;

impl LevelFlow {
    /// The model of level `number`; `layers` are the sections of its private layers.
    pub(crate) fn new(
        config: &CcnfConfig,
        build: &Build<'_, DetectorSpec>,
        number: usize,
        level: &LevelSpec,
        layers: &[Section],
    ) -> Result<Self> {
        let scope = format!("level{number}");
        let projection = Projection::of(config, build, number, level)?;
        let flow_level = match &projection {
            Some(p) => LevelSpec { channels: p.param().shape().0, ..level.clone() },
            None => level.clone(),
        };
        let layer = |(l, section): (usize, &Section)| {
            let scope = format!("{scope}.layer{l}");
            let spec = LayerSpec { scope, level: flow_level.clone(), streams: build.streams };
            ccnf::core::build::<dyn ClassLayer>(section, &spec)
        };
        let layers = layers.iter().enumerate().map(layer).collect::<Result<Vec<_>>>()?;
        let steps = build.train.first.steps;
        let spec = FlowSpec {
            scope: scope.clone(),
            level: flow_level.clone(),
            warmup_steps: if steps >= 10_000 { 2000 } else { steps / 5 },
            streams: build.streams,
        };
        Ok(LevelFlow {
            number,
            raw: level.clone(),
            standard: Standardization::new(&scope, level.channels)?,
            projection,
            chain: Chain::new(layers, config.folds, &flow_level),
            prepared: None,
            pseudo: None,
            defects: vec![],
            pseudo_rows: vec![],
            flow: Flow::new(config, build, &spec)?,
            adam: Adam::new(build.train.adam()),
            teacher: None,
        })
    }
}
