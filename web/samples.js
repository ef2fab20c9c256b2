// Questions that ask themselves, for machines without a microphone. The sound is beside this file.

export const SAMPLES = [
  { file: "samples/time.mp3", text: "What time is it in London?" },
  { file: "samples/sum.mp3", text: "What is twelve plus thirty?" },
  { file: "samples/legs.mp3", text: "How many legs does a spider have?" },
  { file: "samples/capital.mp3", text: "What is the capital of France?" },
  { file: "samples/hello.mp3", text: "Hello, how are you?" },
  { file: "samples/joke.mp3", text: "Tell me a joke." },
];
