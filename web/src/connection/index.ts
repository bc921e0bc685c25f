/** The TypeScript client, usable without the page: see docs/typescript.md. */
export { Bus, connect } from './bus.ts'
export type { Delivery, Following, OnEvents, Options, PublishOptions, Subscribing } from './bus.ts'
export type { Clock, Undo } from './clock.ts'
export { Api, type Query } from './http.ts'
export { BusError, type Code, type Failure } from '../protocol/errors.ts'
export type { Event, EventPage, Published, TokenInfo, TopicInfo } from '../protocol/types.ts'
export type { Link } from '../state/link.ts'
export type { Ask, Notice } from '../state/reader.ts'
