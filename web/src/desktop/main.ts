/** The way in: the token for a cookie, if there is one, and then the page. */
import { mount } from 'svelte'
import { Api, ApiError } from '../connection/http.ts'
import { Feed, socketUrl } from '../connection/socket.ts'
import { takeToken } from './address.ts'
import App from './App.svelte'
import './tokens.css'
import './base.css'
import { choice } from './theme.svelte.ts'

async function signIn(api: Api, token: string): Promise<string | null> {
  if (token === '') return null
  try {
    await api.login(token)
    return null
  } catch (error) {
    return error instanceof ApiError ? error.message : 'the server cannot be reached'
  }
}

async function start(target: HTMLElement): Promise<void> {
  const api = new Api()
  const feed = new Feed(socketUrl(location))
  const token = takeToken()
  const message = await signIn(api, token)
  mount(App, { target, props: { api, feed, token: message === null ? '' : token, message } })
}

choice.apply()
const target = document.getElementById('page')
if (target) void start(target)
