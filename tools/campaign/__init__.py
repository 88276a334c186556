"""The reliability campaign: commands are killed, starved of room, given bad files, and judged."""
