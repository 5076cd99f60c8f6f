"""Groups without labels: deep clustering on one spine, with baselines, stability and label-free choices beside it."""
