// What is said of the chosen files before they are sent: how many, how large, how long, and whether they fit.

const said = document.getElementById("chosen-said");
const warning = document.getElementById("chosen-warning");
const IMAGES = /\.(jpe?g|png|webp)$/i;
let asked = 0;

export async function askEstimate(address, files, size) {
  const bytes = total(files);
  const number = `${files.length} ${files.length === 1 ? "file" : "files"}, ${size(bytes)}.`;
  said.textContent = number;
  const question = (asked += 1);
  const answer = await ask(address, files, bytes);
  if (question !== asked) return; // other files are chosen by now
  said.textContent = answer ? `${number} ${answer.said}` : number;
  warning.textContent = answer?.warning ?? "";
  warning.hidden = !warning.textContent;
}

async function ask(address, files, bytes) {
  const clips = files.filter((file) => !isImage(file));
  const images = files.length - clips.length;
  const query = new URLSearchParams({ bytes, images, clips: clips.length, clip_bytes: total(clips) });
  try {
    const response = await fetch(`${address}?${query}`, { headers: { Accept: "application/json" } });
    return response.ok && !response.redirected ? await response.json() : null;
  } catch {
    return null; // the upload itself will say what is wrong with the connection
  }
}

function isImage(file) {
  return file.type ? file.type.startsWith("image/") : IMAGES.test(file.name);
}

function total(files) {
  return files.reduce((sum, file) => sum + file.size, 0);
}
