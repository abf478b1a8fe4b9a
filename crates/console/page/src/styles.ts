// xterm.js writes style elements and style attributes (src/browser/renderer/dom/DomRenderer.ts, DomRendererRowFactory.ts,
// src/browser/Viewport.ts), which a strict content security policy forbids. Here the same rules are written by the object
// model, which the policy allows: code that can call it runs scripts of this page already.

/** An element that stands for a style element: its text goes into a style sheet of the document. */
function styleElement(page: Document): HTMLElement {
  const sheet = new CSSStyleSheet();
  page.adoptedStyleSheets = [...page.adoptedStyleSheets, sheet];
  const element = page.createElement("span");
  element.hidden = true;
  Object.defineProperty(element, "textContent", {
    set: (text: string) => {
      sheet.replaceSync(text);
    },
  });
  element.remove = () => {
    page.adoptedStyleSheets = page.adoptedStyleSheets.filter((other) => other !== sheet);
    Element.prototype.remove.call(element);
  };
  return element;
}

/** From now on, style elements and the style attributes of spans are written so. */
export function writeStylesByObjectModel(page: Document): void {
  // xterm.js's own option documentOverride does not reach all of these places in version 6.0.
  const create = Document.prototype.createElement.bind(page);
  page.createElement = (name: string, options?: ElementCreationOptions): HTMLElement =>
    name === "style" ? styleElement(page) : create(name, options);
  HTMLSpanElement.prototype.setAttribute = function (this: HTMLSpanElement, name: string, value: string): void {
    if (name === "style") {
      this.style.cssText = value;
    } else {
      Element.prototype.setAttribute.call(this, name, value);
    }
  };
}
