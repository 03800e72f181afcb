// One button opens all answers of a page, and closes them again; nothing is remembered. A printed
// page shows what is folded, in browsers too that do not do so by the style sheet.
(() => {
  const answers = [...document.querySelectorAll("details.answer")];
  const button = document.querySelector("button.all-answers");
  const allOpen = () => answers.every((answer) => answer.open);
  const tell = () => { button.textContent = allOpen() ? "Close all answers" : "Open all answers"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    const open = !allOpen();
    answers.forEach((answer) => { answer.open = open; });
  });
  answers.forEach((answer) => answer.addEventListener("toggle", tell));

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((fold) => { fold.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((fold) => { fold.open = false; }));
})();
