"""How large a picture may be, checked before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from service.errors import LimitExceeded


@dataclass(frozen=True, slots=True)
class PixelLimits:
    """The bounds on one frame and on its picture.

    Parameters
    ----------
    max_frame_pixels : int
        Samples (rows x columns x samples per pixel) of one frame. It holds for what the dataset says and for what
        the compressed stream itself says, whichever is more.
    max_side : int
        Pixels of the longest side that a picture may be enlarged to. A frame that is larger is given as it is.
    """

    max_frame_pixels: int = 64 * 1024 * 1024
    max_side: int = 4096

    def check_frame(self, columns: int, rows: int, samples: int) -> None:
        """Refuse a frame that is too large.

        Raises
        ------
        LimitExceeded
            Where it has more samples than `max_frame_pixels`.
        """
        if columns * rows * samples > self.max_frame_pixels:
            raise LimitExceeded(f"A frame has more than the {self.max_frame_pixels} samples that are allowed.")
