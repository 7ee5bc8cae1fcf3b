"""Votes to answers: inference, metrics, evaluation and prediction."""
