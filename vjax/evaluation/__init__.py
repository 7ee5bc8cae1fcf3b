"""From logits to probabilities: inference, metrics, evaluation and prediction."""
