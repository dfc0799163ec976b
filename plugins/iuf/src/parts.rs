//! Listing the tensors of nested parts.

use ccnf::prelude::Param;

/// A part of the model that has tensors.
pub trait Parts {
    /// Appends all tensors.
    fn list<'a>(&'a self, all: &mut Vec<&'a Param>);
    /// Appends the same tensors in the same order.
    fn list_mut<'a>(&'a mut self, all: &mut Vec<&'a mut Param>);
}

impl Parts for Param {
    fn list<'a>(&'a self, all: &mut Vec<&'a Param>) {
        all.push(self);
    }
    fn list_mut<'a>(&'a mut self, all: &mut Vec<&'a mut Param>) {
        all.push(self);
    }
}

impl<T: Parts> Parts for Vec<T> {
    fn list<'a>(&'a self, all: &mut Vec<&'a Param>) {
        self.iter().for_each(|p| p.list(all));
    }
    fn list_mut<'a>(&'a mut self, all: &mut Vec<&'a mut Param>) {
        self.iter_mut().for_each(|p| p.list_mut(all));
    }
}

impl<T: Parts> Parts for Option<T> {
    fn list<'a>(&'a self, all: &mut Vec<&'a Param>) {
        self.iter().for_each(|p| p.list(all));
    }
    fn list_mut<'a>(&'a mut self, all: &mut Vec<&'a mut Param>) {
        self.iter_mut().for_each(|p| p.list_mut(all));
    }
}

/// Implements [`Parts`] for a struct by its fields.
macro_rules! parts {
    ($t:ty { $($field:ident),* }) => {
        impl $crate::Parts for $t {
            fn list<'a>(&'a self, all: &mut Vec<&'a ccnf::prelude::Param>) {
                $($crate::Parts::list(&self.$field, all);)*
            }
            fn list_mut<'a>(&'a mut self, all: &mut Vec<&'a mut ccnf::prelude::Param>) {
                $($crate::Parts::list_mut(&mut self.$field, all);)*
            }
        }
    };
}
