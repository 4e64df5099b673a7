"""Camera length, centre and ellipse, from the scan itself or from rings."""
