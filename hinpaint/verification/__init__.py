"""DFT has the last word: picks, codes, verdicts."""
