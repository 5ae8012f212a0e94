"""Where packets and frames come from. Knows no motion, event or stream."""
