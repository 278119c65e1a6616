// Whether verdicts are asked to keep their media: one choice for this tab, which stays as it was set while one reviews.

const STORED = "nightjar.keep";
const choice = document.getElementById("keep-judged");

if (choice) {
  choice.checked = sessionStorage.getItem(STORED) === "on";
  choice.addEventListener("change", () => sessionStorage.setItem(STORED, choice.checked ? "on" : "off"));
}

export function keeps() {
  return choice?.checked ?? false;
}

// Answers what is to be said of it; nothing where there is no such choice.
export function toggleKeep() {
  if (!choice) return "";
  choice.click();
  return choice.checked ? "From now on, what you judge keeps the media." : "What you judge no longer keeps the media.";
}
