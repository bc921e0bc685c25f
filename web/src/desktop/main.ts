/** The way in: the token for a cookie, if there is one, and then the page. */
import { mount } from 'svelte'
import { connect } from '../connection/bus.ts'
import type { Api } from '../connection/http.ts'
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
    return error instanceof Error ? error.message : String(error)
  }
}

async function start(target: HTMLElement): Promise<void> {
  const bus = connect({ begin: false })
  const token = takeToken()
  const message = await signIn(bus.api, token)
  mount(App, { target, props: { bus, token: message === null ? '' : token, message } })
}

choice.apply()
const target = document.getElementById('page')
if (target) void start(target)
