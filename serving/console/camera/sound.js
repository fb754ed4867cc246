// Two sounds, made here: somebody known, somebody unknown.

const NOTES = { match: [[660, 0], [880, 0.11]], unknown: [[220, 0], [180, 0.16]] };
const SECONDS = 0.14;

let audio = null;

// To be called while a button is pressed: browsers make no sound before.
export function allowSound() {
  audio ??= new AudioContext();
  audio.resume().catch(() => {});
}

export function play(kind) {
  if (!audio || audio.state !== "running") return;
  for (const [hertz, after] of NOTES[kind]) {
    const at = audio.currentTime + after;
    const tone = new OscillatorNode(audio, { frequency: hertz, type: "triangle" });
    const volume = new GainNode(audio, { gain: 0 });
    volume.gain.setValueAtTime(0.0001, at);
    volume.gain.exponentialRampToValueAtTime(0.25, at + 0.02);
    volume.gain.exponentialRampToValueAtTime(0.0001, at + SECONDS);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + SECONDS + 0.02);
  }
}
