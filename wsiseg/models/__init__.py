"""Models: bundles, networks and heads. Knows no slide and no tile."""
