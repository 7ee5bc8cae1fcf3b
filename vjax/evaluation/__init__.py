"""Logits to probabilities: inference, metrics, evaluation and prediction."""
