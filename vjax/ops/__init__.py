"""Arrays in, arrays out: sampling of frames, geometry of frames, temporal filters."""
