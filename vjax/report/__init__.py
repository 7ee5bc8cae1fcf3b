"""Reports: what a run, a comparison or a cross-validation has found, as one HTML page that needs no network."""
