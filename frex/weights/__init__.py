"""Weight files: finding and downloading them, reading them without running code in them, and loading them strictly."""
