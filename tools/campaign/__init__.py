"""The reliability campaign: commands are killed, starved of room, given damaged and hostile files, and judged."""
