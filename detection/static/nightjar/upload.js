// One request a file, two at a time, each with its own progress; the same answers as the plain form gives. What is
// chosen waits until the form is sent: until then the page says how long it will take and whether there is room for it.

import { askEstimate } from "./upload-estimate.js";

const form = document.getElementById("upload");
const input = document.getElementById("files");
const list = document.getElementById("outcomes");
const section = document.getElementById("outcomes-section");
const status = document.getElementById("upload-status");
const template = document.getElementById("outcome-template");
const chosenPart = document.getElementById("chosen");
const start = document.getElementById("start");
const AT_ONCE = 2;
const SIGNS = { accepted: "✓", known: "=", refused: "✕" };
const WORDS = { accepted: "Accepted", known: "Already here", refused: "Refused" };

const chosen = [];
const waiting = [];
const tally = { accepted: 0, known: 0, refused: 0 };
let running = 0;

input.required = false; // what is chosen is kept here, and the field emptied for the next choice
input.addEventListener("change", () => {
  choose(input.files);
  input.value = "";
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  waiting.push(...chosen.splice(0));
  for (const job of waiting) say(job, "Waiting");
  showChosen();
  document.getElementById("outcomes-title").focus(); // the button that was pressed is gone
  next();
});
document.getElementById("clear").addEventListener("click", () => {
  for (const job of [...chosen]) cancel(job);
  input.focus();
});

// The whole page takes drops: a file that misses the field would otherwise replace the page.
document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  form.classList.add("is-over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) form.classList.remove("is-over");
});
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  form.classList.remove("is-over");
  choose(event.dataTransfer.files);
});
window.addEventListener("beforeunload", (event) => {
  if (running || waiting.length || chosen.length) event.preventDefault();
});

function hasFiles(event) {
  return event.dataTransfer && [...event.dataTransfer.types].includes("Files");
}

function choose(files) {
  for (const file of files) {
    const row = template.content.firstElementChild.cloneNode(true);
    row.querySelector(".outcome-name").textContent = file.name;
    row.querySelector("progress").setAttribute("aria-label", `Upload of ${file.name}`);
    list.append(row);
    const job = { file, row, request: null };
    row.querySelector(".outcome-cancel").setAttribute("aria-label", `Cancel ${file.name}`);
    row.querySelector(".outcome-cancel").addEventListener("click", () => cancel(job));
    if (file.size > Number(form.dataset.maxBytes)) {
      show(job, "refused", `This file is larger than the ${size(Number(form.dataset.maxBytes))} that are allowed.`);
    } else {
      chosen.push(job);
      row.querySelector("progress").hidden = true;
      say(job, `Chosen, ${size(file.size)}`);
    }
  }
  section.hidden = !list.children.length;
  showChosen();
  if (chosen.length) start.focus();
}

function showChosen() {
  chosenPart.hidden = !chosen.length;
  if (!chosen.length) return;
  start.lastChild.textContent = chosen.length === 1 ? "Upload this file" : `Upload these ${chosen.length} files`;
  askEstimate(form.dataset.estimate, chosen.map((job) => job.file), size);
}

function next() {
  while (running < AT_ONCE && waiting.length) send(waiting.shift());
  const left = running + waiting.length;
  const done = Object.entries(tally).filter(([, count]) => count);
  const said = done.map(([word, count]) => `${count} ${WORDS[word].toLowerCase()}`).join(", ");
  status.textContent = left ? "" : said && `${said}.`;
}

function send(job) {
  running += 1;
  job.row.querySelector("progress").hidden = false;
  const body = new FormData();
  body.append("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
  body.append("files", job.file);
  const request = (job.request = new XMLHttpRequest());
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/json");
  request.upload.addEventListener("progress", (event) => {
    if (!event.lengthComputable) return;
    job.row.querySelector("progress").value = event.loaded / event.total;
    const share = Math.floor((100 * event.loaded) / event.total);
    say(job, share < 100 ? `${share} % of ${size(event.total)}` : "Checking the file");
  });
  request.addEventListener("loadend", () => {
    running -= 1;
    if (!job.over) finish(job, request);
    next();
  });
  request.send(body);
}

function finish(job, request) {
  let answer = null;
  try {
    answer = JSON.parse(request.responseText);
  } catch {
    // Not our answer: a proxy's page, the login page, or nothing at all. The status says which.
  }
  const outcome = answer?.files?.[0];
  if (outcome) show(job, outcome.outcome, outcome.message, outcome.url);
  else if (answer?.error) show(job, "refused", answer.error);
  else if (request.status === 0) show(job, "refused", "The connection to the server broke off. Try again.");
  else if (request.status === 413) show(job, "refused", "A server on the way takes no file as large as this.");
  else if (new URL(request.responseURL).pathname.startsWith("/login/"))
    show(job, "refused", "You are not logged in any more. Log in, then upload it again.");
  else show(job, "refused", `The server answered with an error (${request.status}). Try again.`);
}

function cancel(job) {
  const place = waiting.indexOf(job);
  if (place >= 0) waiting.splice(place, 1);
  if (chosen.includes(job)) chosen.splice(chosen.indexOf(job), 1);
  job.over = true;
  job.request?.abort();
  job.row.remove();
  section.hidden = !list.children.length;
  showChosen();
  next();
}

function say(job, text) {
  job.row.querySelector(".outcome-text").textContent = text;
}

function show(job, word, message, url) {
  job.over = true;
  tally[word] += 1;
  job.row.classList.add(`is-${word}`);
  job.row.querySelector(".outcome-cancel").remove();
  const said = job.row.querySelector(".outcome-said");
  const badge = element("span", `badge is-${word}`);
  const sign = element("span", "sign", SIGNS[word]);
  sign.setAttribute("aria-hidden", "true");
  badge.append(sign, ` ${WORDS[word]}`);
  said.replaceChildren(badge);
  if (message && message !== "Accepted.") said.append(` ${message}`);
  if (url) {
    const link = element("a", "", `Open ${job.file.name}`);
    link.href = url;
    said.append(" ", link);
  }
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function size(bytes) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit > 1 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}
