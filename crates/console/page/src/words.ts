// What the page says of a connection and its end, in the language of the browser: Chinese, or else English.

import type { Press } from "./course.ts";
import type { Explanation, Step } from "./reconnect.ts";

export type Language = "en" | "zh";

/** The first of the languages that a browser asks for (`navigator.languages`) that the page speaks. */
export function languageOf(wanted: readonly string[]): Language {
  for (const tag of wanted) {
    const primary = tag.toLowerCase().split("-", 1)[0];
    if (primary === "zh" || primary === "en") {
      return primary;
    }
  }
  return "en";
}

export interface Words {
  readonly language: Language;
  /** Why a console ended. */
  sentence(why: Explanation): string;
  /** What is said after that. */
  advice(step: Step, why: Explanation | undefined): string;
  readonly press: Readonly<Record<Press, string>>;
  readonly title: Readonly<Record<"ended" | "elsewhere" | "needsLink" | "notNow" | "noToken" | "left", string>>;
  readonly connecting: string;
  readonly comingBack: string;
  readonly askingForToken: string;
  again(sentence: string, seconds: number): string;
  /** Of a page that was opened without anything. */
  readonly opensOnce: string;
  readonly pasteLink: string;
  readonly notALink: string;
  readonly connectionClosed: string;
  readonly linkLabel: string;
  readonly open: string;
}

const ENGLISH: Words = {
  language: "en",
  sentence: (why) => why.sentence,
  advice: (step, why) => {
    switch (step.kind) {
      case "retry":
      case "return":
      case "renew":
        return "This page connects again by itself.";
      case "rest":
        return "This page connects again when the network is back or you return to this tab.";
      case "moved":
        return "It can be in one tab at a time. Use it here to end it there.";
      case "over":
        return "This session cannot be opened again. For another one, paste its link.";
      case "ask":
        if (step.again) {
          return "Connect again, or paste a new link or token.";
        }
        return why?.reason === "ResumeRefused"
          ? "A console waits for a few minutes for the browser that lost it, and for nobody who left it. To go on, paste a new link or token."
          : "To go on, paste a new link or token. Each one opens the console once, unless it was made for more.";
    }
  },
  press: { return: "Connect again", "take back": "Use it here", renew: "Ask for a new token" },
  title: {
    ended: "The console has ended",
    elsewhere: "This console is open elsewhere",
    needsLink: "This page needs a link",
    notNow: "The console is not there now",
    noToken: "There is no new token",
    left: "You have left the console",
  },
  connecting: "Connecting.",
  comingBack: "Coming back to the console.",
  askingForToken: "Asking for a new token.",
  again: (sentence, seconds) => `${sentence} Trying again in ${seconds} s.`,
  opensOnce: "A link to a console opens it once.",
  pasteLink: "Paste a new link or token.",
  notALink: "This is neither a link to a console nor a token.",
  connectionClosed: "The connection is closed.",
  linkLabel: "New link or token",
  open: "Open",
};

/** By the reason word. What is missing here is said in English; the tests have all of them. */
const CHINESE_SENTENCES: ReadonlyMap<string, string> = new Map([
  ["ViewerLeft", "您已离开。"],
  ["Internal", "控制台网关出错。请重试；如果一直这样，请告知管理员。"],
  ["Restarting", "控制台网关正在重启。"],
  ["Expired", "会话的时间已到。"],
  ["Revoked", "会话已被撤销。"],
  ["Deleted", "会话已被删除。"],
  ["Idle", "在会话的空闲时限内没有人按键或移动鼠标。"],
  ["TargetGone", "这台机器已被删除，或它的名称现在属于另一台。"],
  ["PolicyChanged", "这台机器的控制台策略不再允许此会话。"],
  ["AccessWithdrawn", "您使用此控制台的权限已被收回。"],
  ["Replaced", "另一位查看者接管了此控制台。"],
  ["Moved", "此控制台已在另一个标签页或窗口中打开。"],
  ["CredentialReused", "让您可以返回的凭据被使用了两次，因此已被收回。请索取新链接。"],
  ["TargetStopped", "这台机器已关机。"],
  ["TargetDisconnected", "这台机器的控制台关闭了连接。"],
  ["TargetUnreachable", "无法连接到这台机器的控制台。"],
  ["TargetRefused", "这台机器的控制台拒绝了网关。"],
  ["InUse", "此控制台只容纳一位查看者，现在已有他人连接，或为断线者保留着位置。"],
  ["TargetNotRunning", "这台机器没有运行。"],
  ["WakeTimeout", "桌面没有及时启动。请重试。"],
  ["TargetFailed", "桌面无法启动：需要更正它的设置。请告知管理员。"],
  ["TargetExpired", "桌面的使用期限已到。"],
  ["TargetHibernated", "桌面已休眠。重新连接即可唤醒。"],
  ["TooManyWaiting", "等待桌面启动的查看者太多。请一分钟后重试。"],
  ["TokenRefused", "访问被拒绝。请索取新令牌。"],
  ["TooManyViewers", "此会话的查看者人数已满。"],
  ["AddressNotAllowed", "此会话不允许从您的地址连接。"],
  ["TransportNotAllowed", "此会话不允许这种查看程序。"],
  ["Unavailable", "现在无法检查令牌。请重试。"],
  ["InputNotAllowed", "您在这里只能查看，而 SSH 需要输入的权限。请改用屏幕。"],
  ["ResumeRefused", "没有可以返回的控制台。请用新链接打开。"],
  ["ProtocolError", "查看程序违反了协议。"],
  ["MessageNotAllowed", "查看程序发送了未经约定的消息。"],
  ["MessageTooLarge", "查看程序发送的消息太大。"],
  ["HandshakeTimeout", "查看程序连接得太慢。"],
  ["ViewerLost", "查看程序不再应答。"],
  ["ConnectionLost", "与控制台网关的连接已中断。"],
  ["NoConnection", "无法连接到控制台网关，或者它拒绝了此页面。"],
]);

const CHINESE: Words = {
  language: "zh",
  sentence: (why) => CHINESE_SENTENCES.get(why.reason) ?? why.sentence,
  advice: (step, why) => {
    switch (step.kind) {
      case "retry":
      case "return":
      case "renew":
        return "此页面会自动重新连接。";
      case "rest":
        return "网络恢复或您回到此标签页时，页面会重新连接。";
      case "moved":
        return "控制台同时只能在一个标签页中使用。在此处使用会结束另一处的连接。";
      case "over":
        return "此会话不能再打开。要打开另一个会话，请粘贴它的链接。";
      case "ask":
        if (step.again) {
          return "请重新连接，或粘贴新的链接或令牌。";
        }
        return why?.reason === "ResumeRefused"
          ? "控制台只为断线的浏览器保留几分钟，主动离开后则不保留。要继续，请粘贴新的链接或令牌。"
          : "要继续，请粘贴新的链接或令牌。每个链接或令牌只能打开控制台一次，除非另有设定。";
    }
  },
  press: { return: "重新连接", "take back": "在此处使用", renew: "索取新令牌" },
  title: {
    ended: "控制台已结束",
    elsewhere: "此控制台已在别处打开",
    needsLink: "此页面需要一个链接",
    notNow: "控制台暂时不可用",
    noToken: "没有新令牌",
    left: "您已离开控制台",
  },
  connecting: "正在连接。",
  comingBack: "正在返回控制台。",
  askingForToken: "正在索取新令牌。",
  again: (sentence, seconds) => `${sentence}将在 ${seconds} 秒后重试。`,
  opensOnce: "控制台的链接只能使用一次。",
  pasteLink: "请粘贴新的链接或令牌。",
  notALink: "这既不是控制台的链接，也不是令牌。",
  connectionClosed: "连接已关闭。",
  linkLabel: "新的链接或令牌",
  open: "打开",
};

export const WORDS: Readonly<Record<Language, Words>> = { en: ENGLISH, zh: CHINESE };
