"""Pixels: one frame decoded alone, and rendered as people see it.

`render` is the way in: a file and a `RenderRequest` in, a PNG or JPEG and what is to be known of it out. The modules
follow the pipeline: `header` and `frames` (what and where), `codestream`, `decode`, `rle` and `native` (bytes to stored
values), `luts`, `voi`, `grey` and `colour` (stored values to shades), `encode`.
"""
