"""Text to speech over a websocket while the text is still written, in StepFun's form."""
