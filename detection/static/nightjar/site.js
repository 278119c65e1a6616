// On every page: shows what needs a script, hides what is only for doing without.

document.documentElement.classList.add("js");
for (const element of document.querySelectorAll(".with-js[hidden]")) element.hidden = false;
for (const element of document.querySelectorAll(".without-js")) element.hidden = true;

// A fragment that is polled after the session has ended would be the login page: go there instead.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr } = event.detail;
  if (new URL(xhr.responseURL, location.href).pathname.startsWith("/login/")) {
    event.detail.shouldSwap = false;
    location.reload();
  }
});

// A part that keeps itself up to date, and for once does not come: say why, until it comes again.
const behind = document.createElement("p");
behind.className = "alert behind";
behind.setAttribute("role", "status");

function fallBehind(sentence) {
  if (behind.textContent !== sentence) behind.textContent = sentence;
  if (!behind.isConnected) document.getElementById("main")?.prepend(behind);
}

document.addEventListener("htmx:responseError", ({ detail: { xhr, target } }) => {
  if (target?.closest("#trial")) return; // says so itself
  const isPlain = xhr.getResponseHeader("Content-Type")?.startsWith("text/plain");
  fallBehind(`This page is not up to date. ${isPlain ? xhr.responseText : `The server answered ${xhr.status}.`}`);
});
document.addEventListener("htmx:sendError", () => {
  fallBehind("This page is not up to date: the server does not answer. It is asked again by itself.");
});
document.addEventListener("htmx:afterSwap", () => behind.remove());
