"""Cut out faces, restore them with the network, and paste them back into their image."""
