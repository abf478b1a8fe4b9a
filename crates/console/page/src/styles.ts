// xterm.js writes style elements and style attributes, which a strict content security policy forbids
// (xterm.js src/browser/renderer/dom/DomRenderer.ts, DomRendererRowFactory.ts, Viewport.ts). It lets its embedder replace
// the document that it makes elements with. The one made here writes the same rules by the object model, which the policy
// allows: whoever can call it runs scripts already.

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

function createElement(page: Document, name: string): HTMLElement {
  if (name === "style") {
    return styleElement(page);
  }
  const element = page.createElement(name);
  if (name === "span") {
    element.setAttribute = (attribute: string, value: string) => {
      if (attribute === "style") {
        element.style.cssText = value;
      } else {
        Element.prototype.setAttribute.call(element, attribute, value);
      }
    };
  }
  return element;
}

export function withoutInlineStyles(page: Document): Document {
  return new Proxy(page, {
    get: (target, property) => {
      if (property === "createElement") {
        return (name: string) => createElement(target, name);
      }
      // Not of the proxy: a document's own functions work on a document alone.
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
    set: (target, property, value) => Reflect.set(target, property, value, target),
  });
}
