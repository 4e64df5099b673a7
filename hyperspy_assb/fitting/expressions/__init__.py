"""Line shapes from expressions."""
