//! Which values have their gradients in the same memory: on the way back few of them are needed at once.

use crate::graph::{Graph, Role, Value};

/// Where the gradient of each value lies.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// By value; none for what has no gradient of its own.
    pub(super) places: Vec<Option<usize>>,
    /// Elements a row of each place.
    pub(super) widths: Vec<usize>,
}

impl Sharing {
    /// A gradient is needed from the way back of its value's last use to that of the operation that formed the value. That of
    /// the predictions lies where they do.
    pub(super) fn new(graph: &Graph, predictions: Value) -> Sharing {
        let mut sharing = Sharing { places: vec![None; graph.values().len()], widths: Vec::new() };
        let mut free = Vec::new();
        for operation in graph.operations().iter().rev() {
            for input in operation.inputs() {
                let shape = graph.values()[input.index()];
                let is_placed = sharing.places[input.index()].is_some();
                if shape.role == Role::Result && input != predictions && !is_placed {
                    sharing.places[input.index()] = Some(sharing.take(&mut free, shape.width));
                }
            }
            // Only now: an operation reads it while it writes those above.
            free.extend(operation.output().and_then(|output| sharing.places[output.index()]));
        }
        sharing
    }

    /// The narrowest that is wide enough, else the widest, made wider, else a new one.
    fn take(&mut self, free: &mut Vec<usize>, width: usize) -> usize {
        let fitting = |place: &&usize| self.widths[**place] >= width;
        let narrowest = free.iter().filter(fitting).min_by_key(|place| self.widths[**place]);
        let chosen = narrowest.or_else(|| free.iter().max_by_key(|place| self.widths[**place])).copied();
        let Some(place) = chosen else {
            self.widths.push(width);
            return self.widths.len() - 1;
        };
        free.retain(|other| *other != place);
        self.widths[place] = self.widths[place].max(width);
        place
    }
}

#[cfg(test)]
mod tests {
    use hcrun_protocol::job::Model;

    use super::*;
    use crate::model::graph_of;
    use crate::spec::{DataShape, ModelSpec};

    fn graphs() -> Vec<(Graph, Value)> {
        let text = DataShape::Text { vocab: 40 };
        let table = DataShape::Table { features: 9, outputs: 3 };
        let gpt = |layers| Model::Gpt { layers, width: 16, heads: 2, context: 8 };
        let models = [(gpt(1), text), (gpt(5), text), (Model::Mlp { hidden: vec![7, 30, 2] }, table)];
        let graph = |(model, shape): (Model, DataShape)| {
            let (graph, _, predictions) = graph_of(&ModelSpec::new(&model, shape).unwrap());
            (graph, predictions)
        };
        models.into_iter().map(graph).collect()
    }

    /// Runs the way back on names: what an operation reads is what was meant for it.
    #[test]
    fn no_gradient_is_overwritten_before_it_is_read() {
        for (graph, predictions) in graphs() {
            let sharing = Sharing::new(&graph, predictions);
            let mut held: Vec<Option<Value>> = vec![None; sharing.widths.len()];
            let mut reads = 0;
            for operation in graph.operations().iter().rev() {
                for input in operation.inputs() {
                    if let Some(place) = sharing.places[input.index()] {
                        assert!(sharing.widths[place] >= graph.width(input));
                        held[place] = Some(input);
                    }
                }
                if let Some(output) = operation.output().filter(|output| *output != predictions) {
                    let place = sharing.places[output.index()].expect("a value that is used");
                    assert_eq!(held[place], Some(output));
                    reads += 1;
                }
            }
            assert!(reads > 3);
        }
    }

    #[test]
    fn deeper_models_need_no_more() {
        let elems = |(graph, predictions): &(Graph, Value)| -> usize {
            Sharing::new(graph, *predictions).widths.iter().sum()
        };
        let graphs = graphs();
        assert_eq!(elems(&graphs[0]), elems(&graphs[1]));
        let every = graphs[1].0.values().iter().filter(|shape| shape.role == Role::Result);
        assert!(4 * elems(&graphs[1]) < every.map(|shape| shape.width).sum::<usize>());
    }
}
