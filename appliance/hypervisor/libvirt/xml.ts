/** The few DOM operations that libvirt's documents need. Values only ever enter a document through these, so they are always quoted. */
import { DOMImplementation, DOMParser, type Document, type Element, XMLSerializer } from '@xmldom/xmldom';
import { RehostError } from '../../api/errors.ts';

export type { Element } from '@xmldom/xmldom';

/** Attributes of an element; what is undefined is left out. */
export type Attributes = Record<string, string | number | undefined>;

/** The root element of a new document. */
export function root(name: string, attributes: Attributes = {}): Element {
  const document = new DOMImplementation().createDocument(null, name, null);
  return setAttributes(rootOf(document), attributes);
}

/** Adds an element at the end of `parent` and returns it. */
export function add(parent: Element, name: string, attributes: Attributes = {}, text?: string): Element {
  const element = setAttributes(documentOf(parent).createElement(name), attributes);
  if (text !== undefined) element.appendChild(documentOf(parent).createTextNode(text));
  parent.appendChild(element);
  return element;
}

/** Adds an element of a namespace, declared on itself: `<prefix:name xmlns:prefix="uri">`. */
export function addOwn(parent: Element, uri: string, prefix: string, name: string, attributes: Attributes): Element {
  const element = setAttributes(documentOf(parent).createElementNS(uri, `${prefix}:${name}`), attributes);
  parent.appendChild(element);
  return element;
}

export function setAttributes(element: Element, attributes: Attributes): Element {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) element.setAttribute(name, String(value));
  }
  return element;
}

/** An element and everything in it as text. */
export function serialize(element: Element): string {
  return new XMLSerializer().serializeToString(element);
}

/** The root element of a document that the hypervisor sent. HYPERVISOR_REFUSED when it is not XML. */
export function parse(text: string): Element {
  try {
    return rootOf(new DOMParser({ onError: refuse }).parseFromString(text, 'text/xml'));
  } catch (error) {
    throw new RehostError('HYPERVISOR_REFUSED', 'The hypervisor sent a document that is not XML.', { cause: error });
  }
}

/** Child elements of this name, in order. */
export function children(element: Element, name: string): Element[] {
  return [...element.children].filter((child) => child.nodeName === name);
}

/** The first element down a path of child names, if there is one. */
export function find(element: Element, ...path: string[]): Element | undefined {
  let at: Element | undefined = element;
  for (const name of path) at = at === undefined ? undefined : children(at, name)[0];
  return at;
}

/** The text of the first element down a path, if there is one. */
export function textOf(element: Element, ...path: string[]): string | undefined {
  return find(element, ...path)?.textContent ?? undefined;
}

/** An attribute of the first element down a path, if it has it. */
export function attributeOf(element: Element, path: string[], attribute: string): string | undefined {
  return find(element, ...path)?.getAttribute(attribute) ?? undefined;
}

function refuse(_level: string, message: string): never {
  throw new Error(message);
}

function rootOf(document: Document): Element {
  const element = document.documentElement;
  if (element === null) throw new RehostError('INTERNAL', 'An XML document has no root element.');
  return element;
}

function documentOf(element: Element): Document {
  const document = element.ownerDocument;
  if (document === null) throw new RehostError('INTERNAL', 'An XML element belongs to no document.');
  return document;
}
