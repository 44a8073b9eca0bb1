"""The heads that the 3D prior recovers: their codes, views, films and meshes."""
