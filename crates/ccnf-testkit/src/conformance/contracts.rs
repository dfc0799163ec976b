//! The contracts in short, for messages: what a component promised when a check of its kind fails.

/// What every component promises.
pub(super) const ENTRY: &str = "\
    the name is kebab-case and unique in its kind; the description is one line; the example config (the defaults) is read back as it stands \
    and builds; an unknown key is a config error that names it (`deny_unknown_fields`); every key has a doc comment, which the schema shows";

/// What a component of `kind` promises; empty for a name that is no kind.
pub(super) fn of(kind: &str) -> &'static str {
    match kind {
        "dataset" => {
            "the index is the same twice; every class has training images; no image is listed twice; every image opens, twice alike and from \
             several threads; a mask has the size of its image and marks some pixel exactly where the image is anomalous; an error names the \
             image"
        }
        "encoder" => {
            "per image and level height x width x channels finite values, the same bits in any company; the fingerprint is another wherever \
             config keys give other features; an error names the image"
        }
        "detector" => {
            "every tensor is listed and owned; under TrainScope::NewClasses no older tensor changes; maps have their level's shape, are \
             finite, the same in any company, and higher where an image is less normal; a snapshot brings everything back; input that cannot be \
             used is an error"
        }
        "layer" => {
            "inverse(forward(x)) is x within 1e-3; forward adds ln |det dy/dx| to `log_det`; all tensors belong to one class and depend on its \
             maps alone; a map has the same bits in any company; input that cannot be used is an error and leaves no trace"
        }
        "coupling" => {
            "x and y are [N, D], finite, and rows are independent; inverse(forward(x).y) is x within 1e-4; `log_det` is ln |det dy/dx| per row, \
             in nats; exact gradients reach x, the tables of the condition and every trainable tensor (`Param::var`, not `constant`); a \
             snapshot brings everything back; bake() keeps outputs bit for bit"
        }
        "conditioner" => {
            "per attached block class rows of `input_width` columns or FiLM tables of twice the hidden widths; a class's row is a tensor of its \
             own, owned by it; growing leaves all else bit for bit; exact gradients reach every trainable tensor; what is unknown or known twice \
             is an error and leaves no trace"
        }
        "regularizer" => {
            "the penalty is finite, the same twice, and without its weight, which `weight` says; its gradient is exact; it is there unless what it needs is absent; \
             `name` is the registered name"
        }
        "scorer" => {
            "one finite score per token, of this token alone and per dimension; it falls as the token's own log-likelihood grows, without an end; a class that is not there is \
             an error; a snapshot brings everything back"
        }
        "router" => {
            "the answer is an index into `classes`, of a class with a likelihood where it needs likelihoods, the same twice; ties go to the \
             first; one that answers without the class given has the same answer with it, one that needs the class to be given says so in a usage error; learning about classes leaves older tensors bit for bit"
        }
        "strategy" => {
            "the stages cover every class of the tasks exactly once, none is empty, the first trains everything; asked twice, the stages are \
             the same; `restore` puts back what `state` gave, and a resumed run has the bits of an undisturbed one; gradients are finite; rehearsed \
             classes are of earlier stages; a promise not to forget leaves all tensors of earlier stages bit for bit"
        }
        _ => "",
    }
}
