// The form for a camera: shows what came of a trial, also where the answer is a refusal.

const trial = document.getElementById("trial");

function isTrial(event) {
  return trial !== null && (event.detail.target === trial || trial.contains(event.detail.target));
}

function say(sentence) {
  const line = document.createElement("p");
  line.className = "is-error";
  line.textContent = sentence;
  trial.replaceChildren(line);
}

// What came of a trial is no word about what is entered since. Its number stays: it stands for the password.
const source = ["source", "address", "username", "password", "rtsp_transport", "verify_tls"];
document.addEventListener("input", (event) => {
  const panel = trial && trial.querySelector(".trial.is-done, .trial.is-failed");
  if (!panel || !source.includes(event.target.name)) return;
  panel.classList.add("is-stale");
  panel.querySelector(".trial-stale").hidden = false;
});

document.addEventListener("htmx:beforeSwap", (event) => {
  if (!isTrial(event)) return;
  const { status } = event.detail.xhr;
  if (status === 422 || status === 429) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  } else if (status === 404) {
    say("What was tried is not kept any more. Try it again.");
  } else if (status >= 400) {
    say("It could not be tried: the server refused it. Reload the page and try again.");
  }
});

document.addEventListener("htmx:sendError", (event) => {
  if (isTrial(event) && !trial.querySelector("[hx-get]")) say("The server could not be reached. Try it again.");
});
