"""Images of one lamella by different signals, brought into one frame; arrays alone."""

import hyperspy_assb.compiled_code  # noqa: F401 - before anything is compiled
