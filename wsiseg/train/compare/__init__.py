"""Comparison of trainings and bundles: table 5.1 of the thesis, curves, panels, size and speed."""
