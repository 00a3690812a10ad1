"""Training and evaluation of bundles on folders of labelled fields. Knows no slide."""
