// The media page: the clip with its boxes, the time line, the list, and the keys that move through them.

import { Overlay } from "./overlay.js";
import { toggleKeep } from "./keep.js";
import { watchKeys } from "./keys.js";
import { say, submitVerdict } from "./verdicts.js";

const data = JSON.parse(document.getElementById("player-data").textContent);
const picture = document.getElementById("picture");
const video = picture instanceof HTMLVideoElement ? picture : null;
const overlay = picture && new Overlay(document.getElementById("overlay"), picture, data);
const playhead = document.getElementById("playhead");
const ruler = document.getElementById("ruler");
const clock = document.getElementById("clock");
const byId = new Map(data.sightings.map((sighting) => [sighting.id, sighting]));
const given = []; // the ids of verdicts given here, for undo
let playUntil = null;

const items = () => [...document.querySelectorAll("#items > li")];
const current = () => document.querySelector("#items > li[aria-current]");
const itemOf = (id) => document.getElementById(`sighting-${id}`);

// Time

function showTime(time) {
  overlay?.draw(time);
  if (playUntil !== null && time >= playUntil) {
    playUntil = null;
    video.pause();
  }
  if (playhead) playhead.style.left = `${(100 * Math.min(time, data.duration)) / data.duration}%`;
  if (clock) clock.textContent = clipTime(time);
  if (ruler) {
    ruler.setAttribute("aria-valuenow", time.toFixed(1));
    ruler.setAttribute("aria-valuetext", clipTime(time));
  }
}

function followVideo() {
  if (video.requestVideoFrameCallback) {
    // The time of the very frame that is on the screen.
    const step = (_now, frame) => {
      showTime(frame.mediaTime);
      video.requestVideoFrameCallback(step);
    };
    video.requestVideoFrameCallback(step);
  } else {
    const step = () => {
      showTime(video.currentTime);
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
  video.addEventListener("loadedmetadata", () => showTime(video.currentTime));
}

function seek(time) {
  playUntil = null;
  const wanted = Math.min(Math.max(0, time), Math.max(0, data.duration - data.frame / 2));
  video.currentTime = wanted;
  if (!video.readyState) video.addEventListener("loadedmetadata", () => (video.currentTime = wanted), { once: true });
  if (playhead) playhead.style.left = `${(100 * wanted) / data.duration}%`;
}

function clipTime(seconds) {
  const tenths = Math.round(seconds * 10);
  const hours = Math.floor(tenths / 36000);
  const minutes = Math.floor((tenths % 36000) / 600);
  const rest = `${String(Math.floor((tenths % 600) / 10)).padStart(2, "0")}.${tenths % 10}`;
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// Choosing a sighting

function select(item, { focus = true, jump = true } = {}) {
  if (!item) return;
  const id = Number(item.dataset.sighting);
  current()?.removeAttribute("aria-current");
  item.setAttribute("aria-current", "true");
  document.querySelector("[data-bar].is-selected")?.classList.remove("is-selected");
  document.querySelector(`[data-bar="${id}"]`)?.classList.add("is-selected");
  if (focus) item.focus({ preventScroll: true });
  item.scrollIntoView({ block: "nearest" });
  if (overlay) overlay.selected = id;
  if (video && jump) {
    video.pause();
    seek(byId.get(id).best + 0.001); // just after, or rounding shows the frame before
  }
  overlay?.draw(overlay.time ?? 0);
}

function move(step) {
  const all = items();
  const at = all.indexOf(current());
  const wanted = at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step;
  if (all[wanted]) return select(all[wanted]);
  document.querySelector(`.review-list a[rel="${step > 0 ? "next" : "prev"}"]`)?.click();
}

function play(item) {
  if (!video || !item) return;
  const sighting = byId.get(Number(item.dataset.sighting));
  seek(sighting.start);
  playUntil = Math.min(sighting.end + 0.2, data.duration - data.frame);
  video.play();
}

function pauseOrPlay() {
  playUntil = null;
  if (video) video.paused ? video.play() : video.pause();
}

function stepFrames(count) {
  if (!video) return;
  video.pause();
  seek(video.currentTime + count * data.frame);
}

// Judging

// A key that comes while a verdict is under way waits for it, and then means the sighting that is selected next.
let line = Promise.resolve();
function inTurn(act) {
  line = line.then(act, act);
}

async function judge(kind) {
  const item = current();
  if (!item) return say("Choose a sighting first: j goes to the next one.");
  const button = item.querySelector(`button[value="${kind}"]`);
  if (!button) return; // only looked at, not judged: an earlier result, or a viewer
  const fresh = await submitVerdict(button.form, button);
  if (fresh) select(nextUnreviewed(fresh) ?? fresh);
}

function relabel() {
  const details = current()?.querySelector("details.relabel");
  if (!details) return;
  details.open = true;
  details.querySelector("input[name=label]").focus();
}

async function undo() {
  const item = itemOf(given.pop()) ?? current();
  const button = item?.querySelector("[data-undo]");
  if (!button) return say("There is no verdict to undo.");
  const fresh = await submitVerdict(button.form, button);
  if (fresh) select(fresh);
}

function nextUnreviewed(item) {
  const all = items();
  const at = all.indexOf(item);
  return [...all.slice(at + 1), ...all.slice(0, at)].find((other) => !other.dataset.review);
}

document.addEventListener("nightjar:judged", ({ detail: { item, undone, advance } }) => {
  const sighting = byId.get(Number(item.dataset.sighting));
  sighting.review = item.dataset.review;
  sighting.label = item.dataset.label;
  sighting.colour = Number(item.dataset.colour.slice(1));
  if (!undone) given.push(sighting.id);
  const bar = document.querySelector(`[data-bar="${sighting.id}"]`);
  const selected = bar?.classList.contains("is-selected") ? " is-selected" : "";
  bar?.setAttribute("class", `bar c${sighting.colour}${sighting.review ? ` is-${sighting.review}` : ""}${selected}`);
  const left = data.sightings.filter((other) => !other.review).length;
  say(`${document.getElementById("review-status").textContent}. ${left} to review.`);
  overlay?.draw(overlay.time ?? 0);
  if (advance) select(nextUnreviewed(item) ?? item);
});

document.addEventListener("keydown", (event) => {
  const details = event.key === "Escape" && event.target.closest?.("details.relabel");
  if (!details) return;
  details.open = false;
  details.closest("li").focus();
});

// The mouse, and the time line's own keys

document.getElementById("items")?.addEventListener("click", (event) => {
  const item = event.target.closest("li.item");
  if (!item || event.target.closest("form")) return;
  event.preventDefault();
  select(item, { focus: !event.target.closest("a") });
});

document.getElementById("timeline")?.addEventListener("click", (event) => {
  const bar = event.target.closest("[data-bar]");
  const item = bar && itemOf(bar.dataset.bar);
  if (bar && !item) return; // on another page of the list: the link goes there
  event.preventDefault();
  if (item) return select(item, { focus: false });
  const edge = ruler.getBoundingClientRect();
  if (video) seek((data.duration * (event.clientX - edge.left)) / edge.width);
});

picture?.parentElement.addEventListener("click", (event) => {
  const inControls = video && event.clientY > video.getBoundingClientRect().bottom - 60;
  const id = inControls ? null : overlay.at(event.clientX, event.clientY);
  if (id === null || !itemOf(id)) return;
  event.preventDefault();
  select(itemOf(id), { focus: false, jump: false });
});

if (ruler && video) {
  playhead.hidden = false;
  for (const [name, value] of Object.entries({
    role: "slider",
    tabindex: "0",
    "aria-label": "Time in the clip",
    "aria-valuemin": "0",
    "aria-valuemax": data.duration.toFixed(1),
  }))
    ruler.setAttribute(name, value);
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
  ruler.addEventListener("keydown", (event) => {
    if (event.key in steps) seek(video.currentTime + steps[event.key]);
    else if (event.key === "Home") seek(0);
    else if (event.key === "End") seek(data.duration);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

document.getElementById("show-boxes")?.addEventListener("change", (event) => {
  if (overlay) overlay.shown = event.target.checked;
  overlay?.draw(overlay.time ?? 0);
});
document.getElementById("show-rejected")?.addEventListener("change", (event) => {
  if (overlay) overlay.showRejected = event.target.checked;
  overlay?.draw(overlay.time ?? 0);
});
document.getElementById("fullscreen")?.addEventListener("click", () => {
  // The stage, not the video alone: the boxes come along.
  if (document.fullscreenElement) document.exitFullscreen();
  else document.getElementById("stage").requestFullscreen();
});

watchKeys({
  j: () => move(1),
  k: () => move(-1),
  Enter: () => play(current()),
  " ": pauseOrPlay,
  ArrowLeft: () => stepFrames(-1),
  ArrowRight: () => stepFrames(1),
  c: () => inTurn(() => judge("confirmed")),
  x: () => inTurn(() => judge("rejected")),
  r: () => inTurn(relabel),
  u: () => inTurn(undo),
  p: () => inTurn(() => say(toggleKeep() || "Only whoever may judge can keep it.")),
});
if (video) followVideo();
const chosen = current();
if (chosen) select(chosen, { jump: video !== null });
