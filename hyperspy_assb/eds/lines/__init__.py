"""X-ray lines of columns of atoms, and the energy axis they are on."""
