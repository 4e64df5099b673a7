"""Images of one lamella by different signals, brought into one frame; arrays alone."""
