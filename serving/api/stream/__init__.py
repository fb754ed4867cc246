"""Live video: frames in, faces out, over one WebSocket. docs/stream.md has the protocol."""
