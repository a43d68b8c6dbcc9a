"""hinpaint completes crystal structures whose hydrogen is missing, for whole databases at a time."""
