"""NuCLS made ready for training: read as published, labelled by one of two rules, surveyed and written.

NuCLS (Amgad et al., GigaScience 11, 2022, giac037; data CC0) holds fields of view of TCGA breast slides. Most of
its nuclei are boxes, and each field has a rim that nobody labelled: `modes` says what a training makes of both.
"""
