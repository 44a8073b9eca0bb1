"""Restore films as a stream: decode frames, follow faces from frame to frame, restore them, and encode segments that are joined."""
