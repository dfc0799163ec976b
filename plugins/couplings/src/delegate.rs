//! Methods that couplings have in common.

/// The methods of a [`Coupling`](ccnf::prelude::Coupling) in which nothing moves, so that being baked is a mark only: its field `baked`.
macro_rules! baked_is_a_mark {
    () => {
        fn bake(&mut self) -> Result<()> {
            self.baked = true;
            Ok(())
        }

        fn is_baked(&self) -> bool {
            self.baked
        }

        fn set_baked(&mut self) {
            self.baked = true;
        }
    };
}

/// The methods of a [`Coupling`](ccnf::prelude::Coupling) that are its subnet's affair; the coupling has fields `subnet` and `baked`.
macro_rules! through_subnet {
    () => {
        fn hidden(&self) -> Vec<usize> {
            self.subnet.hidden()
        }

        fn needs_maps(&self) -> bool {
            self.subnet.needs_maps()
        }

        fn bake(&mut self) -> Result<()> {
            self.baked = true;
            self.subnet.bake()
        }

        fn is_baked(&self) -> bool {
            self.baked
        }

        fn set_baked(&mut self) {
            self.baked = true;
            self.subnet.set_baked();
        }

        fn has_private(&self) -> bool {
            self.subnet.has_private()
        }

        fn grow(&mut self, class: &str) -> Result<()> {
            self.subnet.grow(class)
        }
    };
}
