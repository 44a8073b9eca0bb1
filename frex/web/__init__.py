"""`frex web`: the server and the web page that restore the faces in uploaded photographs, as `frex restore` does."""
