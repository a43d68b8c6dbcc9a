"""What becomes of an entry: trials compared with references and with each other, LES, confidence, the decision."""
