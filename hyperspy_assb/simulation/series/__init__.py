"""Image series and voltammograms of a lamella in operation, with their truth; no code of the analysis is used."""
