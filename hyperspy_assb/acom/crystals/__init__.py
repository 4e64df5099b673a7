"""Crystal structures, their kinematical diffraction, and rotations of crystals."""
