"""The web page of `rskt-seg serve`: sessions of several users around the models of one process."""
