"""Series of STEM images: drift, grains and cracks; arrays alone."""
